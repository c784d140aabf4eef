//! RocksDB behind the storage traits.
