//! Which form an error page takes, by the client's Accept.

/// The form of an error page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorForm {
    /// `text/html`
    Html,
    /// `application/json`
    Json,
    /// `text/plain`
    Text,
}

/// The form that the client likes best.
pub fn error_form(_accept: Option<&[u8]>) -> ErrorForm {
    ErrorForm::Text
}
