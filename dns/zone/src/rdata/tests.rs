//! The text form of each record type, and what it refuses.

use super::*;
use proptest::prelude::*;

fn parse(rtype: RecordType, text: &str) -> Result<RecordData, DataError> {
    RecordData::parse(rtype, text)
}

#[test]
fn every_example_reads_and_prints_back() {
    for rtype in RecordType::ALL {
        let text = example(rtype);
        let data = parse(rtype, text).unwrap();
        assert_eq!(data.to_string(), text);
        assert_eq!(data.rtype(), rtype);
    }
}

#[test]
fn a_bad_text_is_answered_with_reason_and_example() {
    let error = parse(RecordType::Mx, "10 mail.example")
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "`10 mail.example` is not the data of a MX record: `mail.example` does not end with a dot; \
         write `mail.example.` if that is the full name; write it like `10 mail.example.org.`"
    );
}

#[test]
fn loose_numbers_spaces_and_addresses_are_refused() {
    let refused = [
        (RecordType::A, "192.0.2.01"),
        (RecordType::A, " 192.0.2.1"),
        (RecordType::A, "2001:db8::1"),
        (RecordType::Aaaa, "192.0.2.1"),
        (RecordType::Aaaa, "fe80::1%eth0"),
        (RecordType::Mx, "+1 m.example."),
        (RecordType::Mx, "65536 m.example."),
        (RecordType::Mx, "1  m.example."),
        (RecordType::Mx, "1 m.example. x"),
        (RecordType::Mx, "10 192.0.2.1."),
        (RecordType::Srv, "0 5 70000 a.example."),
        (RecordType::Ns, "."),
        (RecordType::Cname, "*.example."),
        (RecordType::Caa, "256 issue \"x\""),
        (RecordType::Caa, "0 is-sue \"x\""),
        (RecordType::Caa, "0 issue \"x\" \"y\""),
        (RecordType::Txt, ""),
        (RecordType::Txt, "\"open"),
        (RecordType::Txt, "\"a\"\"b\""),
        (RecordType::Txt, "\"\\256\""),
        (RecordType::Txt, "\"\\1\""),
        (RecordType::Txt, "say \"hi\""),
        (RecordType::Txt, "a\nb"),
    ];
    for (rtype, text) in refused {
        assert!(parse(rtype, text).is_err(), "{rtype} {text}");
    }
}

#[test]
fn a_null_mx_and_a_null_service_are_written_with_the_root() {
    assert_eq!(parse(RecordType::Mx, "0 .").unwrap().to_string(), "0 .");
    assert!(parse(RecordType::Srv, "0 0 0 .").is_ok());
}

#[test]
fn a_long_txt_is_split_and_a_too_long_one_refused() {
    let RecordData::Txt(txt) = parse(RecordType::Txt, &"x".repeat(600)).unwrap() else {
        panic!("TXT data expected");
    };
    assert_eq!(
        txt.strings().map(<[u8]>::len).collect::<Vec<_>>(),
        [255, 255, 90]
    );
    assert!(parse(RecordType::Txt, &"x".repeat(MAX_TXT_BYTES)).is_ok());
    assert!(parse(RecordType::Txt, &"x".repeat(MAX_TXT_BYTES + 1)).is_err());
    assert!(parse(RecordType::Txt, &["\"\""; 65].join(" ")).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_content_survives_its_text_form(content in proptest::collection::vec(any::<u8>(), 0..600)) {
        let data = RecordData::Txt(Txt::of_content(&content).unwrap());
        prop_assert_eq!(parse(RecordType::Txt, &data.to_string()), Ok(data));
    }

    #[test]
    fn whatever_is_accepted_prints_to_an_equal_value(text in "[ -~]{0,40}") {
        for rtype in RecordType::ALL {
            if let Ok(data) = parse(rtype, &text) {
                prop_assert_eq!(parse(rtype, &data.to_string()), Ok(data));
            }
        }
    }
}
