//! The Corgi server: sockets, threads, disk and configuration.
