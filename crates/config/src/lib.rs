//! Configuration: tree with spans, validated model, diagnostics, schema, reference; pure.
#![forbid(unsafe_code)]
