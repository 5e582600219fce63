//! Templates. (In progress.)
