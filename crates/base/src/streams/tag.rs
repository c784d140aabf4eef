//! The tag bytes of operations on streams. They are on disk: add, never reuse.

pub(super) const ADD: u8 = 0x01;
pub(super) const LEN: u8 = 0x02;
pub(super) const RANGE: u8 = 0x03;
pub(super) const READ: u8 = 0x04;
pub(super) const DEL: u8 = 0x05;
pub(super) const DEL_EX: u8 = 0x06;
pub(super) const TRIM: u8 = 0x07;
pub(super) const SET_ID: u8 = 0x08;
pub(super) const CONFIGURE: u8 = 0x09;
pub(super) const INFO: u8 = 0x0a;
pub(super) const INFO_FULL: u8 = 0x0b;
pub(super) const INFO_GROUPS: u8 = 0x0c;
pub(super) const INFO_CONSUMERS: u8 = 0x0d;
pub(super) const GROUP_CREATE: u8 = 0x20;
pub(super) const GROUP_SET_ID: u8 = 0x21;
pub(super) const GROUP_DESTROY: u8 = 0x22;
pub(super) const CONSUMER_CREATE: u8 = 0x23;
pub(super) const CONSUMER_DELETE: u8 = 0x24;
pub(super) const READ_GROUP: u8 = 0x30;
pub(super) const ACK: u8 = 0x31;
pub(super) const ACK_DEL: u8 = 0x32;
pub(super) const NACK: u8 = 0x33;
pub(super) const PENDING: u8 = 0x34;
pub(super) const PENDING_RANGE: u8 = 0x35;
pub(super) const CLAIM: u8 = 0x36;
pub(super) const AUTO_CLAIM: u8 = 0x37;
