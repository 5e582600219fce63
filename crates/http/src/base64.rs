//! Base64 (RFC 4648): with padding (section 4) for gRPC-Web and for the keys of WebSockets, without and
//! with digits that need no quotes anywhere (section 5) for cookies.

/// The digits.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends `input` in base64.
pub(crate) fn encode(input: &[u8], out: &mut Vec<u8>) {
    out.reserve(input.len().div_ceil(3) * 4);
    for group in input.chunks(3) {
        out.extend_from_slice(&digits(group));
    }
}

/// `input` in base64; `N` is the length of that.
pub(crate) fn array<const N: usize>(input: &[u8]) -> [u8; N] {
    let mut out = [b'='; N];
    for (group, four) in input.chunks(3).zip(out.chunks_exact_mut(4)) {
        four.copy_from_slice(&digits(group));
    }
    out
}

/// `input` in base64url without padding, cut or filled up with `A` to `N` characters.
pub fn url_array<const N: usize>(input: &[u8]) -> [u8; N] {
    let mut out = [b'A'; N];
    let all = input.chunks(3).flat_map(digits);
    for (to, digit) in out.iter_mut().zip(all.filter(|&digit| digit != b'=')) {
        *to = match digit {
            b'+' => b'-',
            b'/' => b'_',
            digit => digit,
        };
    }
    out
}

/// The four characters of one to three bytes.
#[inline]
fn digits(group: &[u8]) -> [u8; 4] {
    let byte = |at: usize| group.get(at).copied().unwrap_or(0);
    let bits = u32::from_be_bytes([0, byte(0), byte(1), byte(2)]);
    let digit = |shift: u32| {
        let index = (bits >> shift & 63) as usize;
        ALPHABET.get(index).copied().unwrap_or_default()
    };
    match group.len() {
        1 => [digit(18), digit(12), b'=', b'='],
        2 => [digit(18), digit(12), digit(6), b'='],
        _ => [digit(18), digit(12), digit(6), digit(0)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_of_urls_are_others_and_nothing_is_filled_up() {
        assert_eq!(&array::<4>(&[0xfb, 0xff]), b"+/8=");
        assert_eq!(&url_array::<3>(&[0xfb, 0xff]), b"-_8");
        assert_eq!(&url_array::<22>(&[0; 16]), b"AAAAAAAAAAAAAAAAAAAAAA");
    }
}
