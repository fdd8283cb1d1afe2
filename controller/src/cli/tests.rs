//! The CLI as its users meet it.
