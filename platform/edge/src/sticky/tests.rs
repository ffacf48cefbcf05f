//! Cookies as they are written and read, by a time that is given.

use super::*;
use proptest::prelude::*;

const NOW_S: u64 = 1_000;
const HOUR: Span = Span::from_ms(3_600_000);
const TERMS: Terms = Terms { now_s: NOW_S, lasts: HOUR, is_secure: false };
const WEB: &str = "default/web";
const TARGET: u64 = 0x0123_4567_89ab_cdef;

fn cookies() -> Cookies {
    Cookies::new(&CookieKey([7; 32]))
}

/// What a client brings back of what it was given.
fn brought(given: &HeaderValue) -> String {
    given.to_str().unwrap().split(';').next().unwrap().to_owned()
}

/// A cookie of the target in the group `WEB`, as a client brings it.
fn of_target() -> String {
    brought(&cookies().set_target(WEB, TARGET, &TERMS))
}

fn headers(lines: &[&str]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines {
        map.append(COOKIE, line.parse().unwrap());
    }
    map
}

fn target_of(lines: &[&str]) -> Option<u64> {
    cookies().target_of(&headers(lines), WEB, NOW_S)
}

fn groups(texts: &[&str]) -> Vec<WeightedGroup> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_value_is_the_same_in_every_version_of_the_platform() {
    let text = "AQEAAAAAAAAR-J0rpQgk1jS7ASNFZ4mrze8pApvH307OcQ2zpUWXgQoS";
    let given = cookies().set_target(WEB, TARGET, &TERMS);
    let expected = format!("SKIFFALB={text}; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(given, expected);
    let secure = cookies().set_target(WEB, TARGET, &Terms { is_secure: true, ..TERMS });
    assert_eq!(secure, format!("{expected}; Secure"));
    assert_eq!(target_of(&[&format!("SKIFFALB={text}")]), Some(TARGET));
}

#[test]
fn digits_are_those_of_the_specification() {
    let bytes = std::array::from_fn(|index| (214 + index) as u8);
    let text = "1tfY2drb3N3e3-Dh4uPk5ebn6Onq6-zt7u_w8fLz9PX29_j5-vv8_f7_";
    assert_eq!(encode(&bytes), text);
    assert_eq!(decode(text.as_bytes()), Some(bytes));
    for (worth_of, digit) in DIGITS.iter().enumerate() {
        assert_eq!(worth(*digit), Some(worth_of as u8));
    }
    let known = (0..=u8::MAX).filter(|digit| worth(*digit).is_some()).count();
    assert_eq!(known, DIGITS.len());
}

#[test]
fn a_cookie_is_for_its_group_and_its_time_and_of_its_kind_and_key() {
    let line = of_target();
    assert_eq!(target_of(&[&line]), Some(TARGET));
    let at = |now_s| cookies().target_of(&headers(&[&line]), WEB, now_s);
    assert_eq!((at(NOW_S + 3_599), at(NOW_S + 3_600), at(u64::MAX)), (Some(TARGET), None, None));
    assert_eq!(cookies().target_of(&headers(&[&line]), "default/other", NOW_S), None);
    let stranger = Cookies::new(&CookieKey([8; 32]));
    assert_eq!(stranger.target_of(&headers(&[&line]), WEB, NOW_S), None);
    assert_eq!(Cookies::of_nobody().target_of(&headers(&[&line]), WEB, NOW_S), None);
    let as_group = line.replace("SKIFFALB=", "SKIFFALBTG=");
    assert_eq!(cookies().group_of(&headers(&[&as_group]), &groups(&[WEB]), NOW_S), None);
    let of_group = brought(&cookies().set_group(key_of(WEB), &TERMS));
    assert_eq!(target_of(&[&of_group.replace("SKIFFALBTG=", "SKIFFALB=")]), None);
}

#[test]
fn a_time_that_is_no_whole_second_is_lengthened() {
    for (ms, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2)] {
        let given = cookies().set_group(1, &Terms { lasts: Span::from_ms(ms), ..TERMS });
        assert!(given.to_str().unwrap().contains(&format!("; Max-Age={seconds};")), "{ms} ms: {given:?}");
    }
    let for_ever = Terms { now_s: u64::MAX, ..TERMS };
    assert_eq!(target_of(&[&brought(&cookies().set_target(WEB, TARGET, &for_ever))]), Some(TARGET));
}

#[test]
fn what_was_changed_is_nobodys() {
    let line = of_target();
    let (name, value) = line.split_once('=').unwrap();
    for place in 0..value.len() {
        let mut changed = value.as_bytes().to_vec();
        for digit in *DIGITS {
            changed[place] = digit;
            let text = str::from_utf8(&changed).unwrap();
            let expected = (digit == value.as_bytes()[place]).then_some(TARGET);
            assert_eq!(target_of(&[&format!("{name}={text}")]), expected, "digit {place}");
        }
        assert_eq!(target_of(&[&format!("{name}={}", &value[..place])]), None, "{place} digits");
    }
    for changed in
        [format!("{line}A"), format!("{line}="), format!("{name}=\"{value}\""), line.to_lowercase()]
    {
        assert_eq!(target_of(&[&changed]), None, "{changed}");
    }
}

#[test]
fn a_cookie_is_found_among_others_wherever_they_are() {
    let line = of_target();
    let forged = format!("SKIFFALB={}", "A".repeat(VALUE_LENGTH));
    for lines in [
        vec![format!("a=1; {line}; b=2")],
        vec!["a=1".to_owned(), line.clone(), "b=2".to_owned()],
        vec![format!(";; =;{line};")],
        vec![format!("XSKIFFALB=1; SKIFFALB; SKIFFALB=; SKIFFALBTG=1;\t{line}\t")],
        vec![format!("{forged}; {line}")],
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(target_of(&lines), Some(TARGET), "{lines:?}");
    }
    let far_behind = format!("{}{line}", format!("{forged}; ").repeat(TRIED_MAX));
    assert_eq!(target_of(&[&far_behind]), None, "no more than so many are checked");
    assert_eq!((target_of(&[]), target_of(&[""])), (None, None));
}

#[test]
fn a_group_is_one_of_the_actions_that_has_weight() {
    let line = brought(&cookies().set_group(key_of("default/green"), &TERMS));
    let group_of = |texts: &[&str]| {
        let groups = groups(texts);
        cookies().group_of(&headers(&[&line]), &groups, NOW_S).map(ToString::to_string)
    };
    assert_eq!(group_of(&["default/blue", "default/green=1"]).as_deref(), Some("default/green"));
    assert_eq!(group_of(&["default/blue", "default/green=0"]), None);
    assert_eq!(group_of(&["default/blue", "other/green"]), None);
    assert_eq!(group_of(&[]), None);
}

#[test]
fn no_key_is_printed() {
    assert_eq!(format!("{:?}", cookies()), "Cookies { .. }");
}

proptest! {
    #[test]
    fn what_nobody_signed_is_nobodys(value in "[A-Za-z0-9_-]{50,60}", line in "[ -~]{0,99}") {
        let signed = format!("SKIFFALB={value}");
        prop_assert_eq!(target_of(&[&signed, &line]), None);
        prop_assert_eq!(target_of(&[&format!("{line}; {}", of_target())]), Some(TARGET));
    }

    #[test]
    fn what_is_given_is_understood(group in any::<u64>(), target in any::<u64>(), ms in 1_u64..1 << 40) {
        let value = Value { kind: Kind::Group, ends_s: ms, group, target };
        prop_assert_eq!(Value::of(Kind::Group, &value.bytes()), Some(value));
        prop_assert_eq!(Value::of(Kind::Target, &value.bytes()), None);
    }
}
