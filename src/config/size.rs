//! Sizes in bytes as they are written: `"10MiB"`, `"32KiB"`, `8192`.

use serde::Deserialize;

use super::scalar::Scalar;

/// The largest size that is taken for meant: one tebibyte.
const SIZE_MAX: u64 = 1 << 40;

/// What a number may be followed by. Both families, because both are in use and mean different
/// sizes; a bare "M" would be a guess and is refused.
const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// A number of bytes above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Size(u64);

impl Size {
    /// A default of this many bytes.
    pub(super) const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// The number of bytes; never zero.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl TryFrom<Scalar> for Size {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let (shown, bytes) = match scalar {
            Scalar::Integer(number) => (number.to_string(), u64::try_from(number).ok()),
            other => {
                let text = other.text("a size such as \"1MiB\"")?;
                let bytes = parse(&text);
                (format!("{text:?}"), bytes)
            }
        };
        match bytes {
            Some(0) => Err(format!("{shown} is no size; it must be above zero")),
            Some(bytes) if bytes <= SIZE_MAX => Ok(Self(bytes)),
            Some(_) => Err(format!("{shown} is too large; at most 1024GiB")),
            None => Err(format!(
                "{shown} is not a size\nwrite bytes or a number and a unit: 8192, \"32KiB\", \
                 \"10MiB\""
            )),
        }
    }
}

/// The bytes that `text` stands for; saturates instead of overflowing.
fn parse(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok().map(|number| number.saturating_mul(*factor))
}
