//! Decimals to the nearest floating point number, and back: exactly, with whole numbers of any
//! length. Slow, at some hundred nanoseconds, for what does not fit into one multiplication, but
//! without the tables that fast ways need: they are a sixth of what the page may weigh.

/// More digits than this only say on which side of it a number is: half way between two numbers
/// ends before.
const MOST_DIGITS: usize = 800;

/// The number nearest to a decimal's digits. `None` if it is too large.
pub(super) fn read(whole: &[u8], fraction: &[u8], exponent: i32) -> Option<f64> {
    let digits = whole.iter().chain(fraction).skip_while(|digit| **digit == b'0');
    let count = digits.clone().count();
    // Of the last digit.
    let exponent = i64::from(exponent) - fraction.len() as i64;
    if count <= 19 {
        let digits = digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
        return nearest_decimal(digits, exponent);
    }
    let (mut big, mut exponent) = (Big::from(0), exponent + count as i64);
    for digit in digits.clone().take(MOST_DIGITS) {
        big.multiply(10, u32::from(digit - b'0'));
        exponent -= 1;
    }
    if digits.skip(MOST_DIGITS).any(|digit| *digit != b'0') {
        big.multiply(10, 1);
        exponent -= 1;
    }
    nearest(big, count.min(MOST_DIGITS) as i64, exponent)
}

/// Writes a number in a decimal that is read as the same, and no other: the shortest, but for few.
pub(super) fn write(float: f64, out: &mut String) {
    if float.is_sign_negative() {
        out.push('-');
    }
    let float = float.abs();
    let (mut digits, mut exponent) = (0, 0);
    if float > 0.0 {
        // 17 digits are always enough.
        for length in 15..=17 {
            (digits, exponent) = rounded(float, length);
            if nearest_decimal(digits, exponent.into()).is_some_and(|found| found.to_bits() == float.to_bits()) {
                break;
            }
        }
        while digits % 10 == 0 {
            (digits, exponent) = (digits / 10, exponent + 1);
        }
    }
    let mut text = String::new();
    super::write_number(digits, &mut text);
    // Where the point is in the digits.
    let point = text.len() as i32 + exponent;
    match point {
        -5..=0 => {
            out.push_str("0.");
            (point..0).for_each(|_| out.push('0'));
            out.push_str(&text);
        }
        1..=17 => {
            (0..exponent).for_each(|_| text.push('0'));
            let (whole, fraction) = text.split_at(point as usize);
            out.push_str(whole);
            out.push('.');
            out.push_str(if fraction.is_empty() { "0" } else { fraction });
        }
        _ => {
            out.push_str(&text);
            out.push_str(if exponent < 0 { "e-" } else { "e" });
            super::write_number(exponent.unsigned_abs().into(), out);
        }
    }
}

/// The first `length` digits of a number that is not zero, rounded, and the exponent of the last of
/// them.
fn rounded(float: f64, length: u32) -> (u64, i32) {
    let (bits, field) = (float.to_bits() & ((1 << 52) - 1), (float.to_bits() >> 52) as i32);
    let (bits, shift) = if field == 0 { (bits, -1074) } else { (bits | 1 << 52, field - 1075) };
    // Of the first digit: this one or the next. 0.30103 is the decimal logarithm of two.
    let magnitude = i64::from(shift + bits.ilog2() as i32) * 30103;
    let mut exponent = magnitude.div_euclid(100_000) as i32 - length as i32 + 1;
    loop {
        let (mut big, mut unit) = (Big::from(bits), Big::from(1));
        if exponent < 0 { &mut big } else { &mut unit }.multiply_by_ten(exponent.unsigned_abs());
        if shift < 0 { &mut unit } else { &mut big }.shift(shift.unsigned_abs());
        big.shift(1);
        let digits = big.divide(unit, 1);
        if digits < 10_u64.pow(length) {
            return (digits, exponent);
        }
        exponent += 1;
    }
}

/// The number nearest to `digits` · 10^`exponent`. `None` if it is too large.
fn nearest_decimal(digits: u64, exponent: i64) -> Option<f64> {
    // Both numbers are exact, so their product or quotient is rounded once.
    if digits <= 1 << 53 && exponent.unsigned_abs() <= 19 {
        let (digits, power) = (digits as f64, 10_u64.pow(exponent.unsigned_abs() as u32) as f64);
        return Some(if exponent < 0 { digits / power } else { digits * power });
    }
    nearest(Big::from(digits), 20, exponent)
}

/// The number nearest to `big` · 10^`exponent`; `big` has `digits` digits at most.
fn nearest(mut big: Big, digits: i64, exponent: i64) -> Option<f64> {
    if big.is_zero() || exponent + digits < -330 {
        return Some(0.0);
    }
    if exponent > 310 {
        return None;
    }
    let mut unit = Big::from(1);
    if exponent < 0 { &mut unit } else { &mut big }.multiply_by_ten(exponent.unsigned_abs() as u32);
    // 53 bits are left of it, or 54, or fewer next to zero; and two that say how to round.
    let mut shift = (big.bits() - unit.bits() - 53).max(-1074) - 2;
    if shift < 0 { &mut big } else { &mut unit }.shift(shift.unsigned_abs());
    let mut bits = big.clone().divide(unit.clone(), 2);
    if bits > 1 << 53 {
        bits = big.divide(unit, 3);
        shift += 1;
    }
    // The first bit of 53 adds one to the exponent, as does the one too many that rounding can
    // bring.
    let field = u64::from((shift + 1076).unsigned_abs());
    (field < 2047).then(|| f64::from_bits(bits + (field << 52))).filter(|float| float.is_finite())
}

/// A whole number, its lowest digits first, to the base of 2^32.
#[derive(Clone)]
struct Big(Vec<u32>);

impl Big {
    fn from(number: u64) -> Self {
        let mut big = Self(vec![number as u32, (number >> 32) as u32]);
        big.trim();
        big
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> i32 {
        self.0.last().map_or(0, |last| self.0.len() as i32 * 32 - last.leading_zeros() as i32)
    }

    fn multiply(&mut self, factor: u32, plus: u32) {
        let mut carry = u64::from(plus);
        for digit in &mut self.0 {
            carry += u64::from(*digit) * u64::from(factor);
            *digit = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn multiply_by_ten(&mut self, times: u32) {
        for _ in 0..times / 9 {
            self.multiply(1_000_000_000, 0);
        }
        self.multiply(10_u32.pow(times % 9), 0);
    }

    /// Multiplies by two, so often.
    fn shift(&mut self, times: u32) {
        self.multiply(1 << (times % 32), 0);
        self.0.splice(..0, (0..times / 32).map(|_| 0));
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for digit in self.0.iter_mut().rev() {
            (*digit, carry) = (*digit >> 1 | carry, *digit << 31);
        }
        self.trim();
    }

    /// Takes `other` away, if there is as much.
    fn take(&mut self, other: &Self) -> bool {
        let enough =
            self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev())).is_ge();
        if enough {
            let mut borrow = 0;
            for (n, digit) in self.0.iter_mut().enumerate() {
                let less = i64::from(*digit) - i64::from(other.0.get(n).copied().unwrap_or(0)) + borrow;
                (*digit, borrow) = (less as u32, less >> 32);
            }
            self.trim();
        }
        enough
    }

    /// A quotient of less than 62 bits without its last `off` ones, rounded to the nearest, or to
    /// the even one of two.
    fn divide(mut self, mut by: Self, off: u32) -> u64 {
        let mut quotient = 0;
        by.shift(61);
        for _ in 0..62 {
            quotient = quotient << 1 | u64::from(self.take(&by));
            by.halve();
        }
        // What is left makes more of a half.
        let rest = (quotient & ((1 << off) - 1)) << 1 | u64::from(!self.is_zero());
        quotient >>= off;
        quotient + u64::from(rest + (quotient & 1) > 1 << off)
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}
