//! Enums that are written as one word in the configuration.
//!
//! The macro gives the enum, its words and their meaning from one list, so that the loader, the
//! schema and the reference page cannot disagree.

/// An enum whose values are words of the configuration.
pub trait Word: Copy + Sized + 'static {
    /// The words and what each means, in the order of [`Word::ALL`].
    const WORDS: &'static [(&'static str, &'static str)];
    /// Every value.
    const ALL: &'static [Self];
    /// The word of this value, as it is written in the configuration.
    fn word(self) -> &'static str;
}

macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $(#[doc = $about:literal] $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $(#[doc = $about] $variant,)+
        }

        impl $crate::words::Word for $name {
            const WORDS: &'static [(&'static str, &'static str)] = &[$(($word, $about.trim_ascii()),)+];
            const ALL: &'static [Self] = &[$($name::$variant,)+];
            fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }
        }
    };
}

pub(crate) use words;
