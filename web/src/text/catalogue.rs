//! The form of the catalogue: each text has a key and both languages, so that one without both does not compile.

/// A part of the catalogue.
pub(crate) trait Words: Copy {
    /// The text in Portuguese and in English. `{}` marks a gap to fill.
    fn both(self) -> (&'static str, &'static str);
}

macro_rules! catalogue {
    ($(#[$meaning:meta])* $name:ident { $($key:ident: $pt:literal, $en:literal;)* }) => {
        $(#[$meaning])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name {
            $($key,)*
        }

        impl $name {
            #[cfg(test)]
            pub(in crate::text) const ALL: &[$name] = &[$($name::$key,)*];
        }

        impl crate::text::Words for $name {
            fn both(self) -> (&'static str, &'static str) {
                match self {
                    $($name::$key => ($pt, $en),)*
                }
            }
        }
    };
}
pub(in crate::text) use catalogue;
