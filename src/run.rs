//! Start, reload, stop: the only file that knows every module.
