//! Closed sets of words: what a setting or a label may say. It knows no particular set.

/// A closed set of words, each with one spelling, as configuration and output write them.
pub trait Keyword: Copy + 'static {
    /// Every member of the set.
    const ALL: &'static [Self];

    /// Its spelling.
    fn name(self) -> &'static str;

    /// The member of that spelling.
    fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|word| word.name() == name)
    }
}

/// Declares an enum that is a closed set of words; the first is the default.
macro_rules! keywords {
    ($(#[$doc:meta])* $type:ident {
        $(#[$first_doc:meta])* $first:ident = $first_name:literal
        $(, $(#[$word_doc:meta])* $word:ident = $name:literal)* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $type {
            $(#[$first_doc])* #[default] $first,
            $($(#[$word_doc])* $word),*
        }

        impl $crate::domain::Keyword for $type {
            const ALL: &'static [Self] = &[Self::$first $(, Self::$word)*];

            fn name(self) -> &'static str {
                match self {
                    Self::$first => $first_name,
                    $(Self::$word => $name),*
                }
            }
        }
    };
}

pub(crate) use keywords;
