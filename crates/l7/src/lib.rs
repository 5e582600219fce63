//! The HTTP data plane: the phases of a request and the one driver that walks them.
#![forbid(unsafe_code)]
