//! Who listens.
