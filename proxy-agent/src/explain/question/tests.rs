//! Questions as users write them: what is understood, and what is said of the rest.

use super::*;

fn src(text: &str) -> Option<(String, Option<u16>)> {
    source(text)
        .ok()
        .map(|source| (source.ip.to_string(), source.port))
}

#[test]
fn sources_are_addresses_with_or_without_a_port() {
    let of = |ip: &str, port| Some((ip.to_owned(), port));
    assert_eq!(src("10.1.2.3"), of("10.1.2.3", None));
    assert_eq!(src("10.1.2.3:40000"), of("10.1.2.3", Some(40000)));
    assert_eq!(src("fd00::1"), of("fd00::1", None));
    assert_eq!(src("[fd00::1]"), of("fd00::1", None));
    assert_eq!(src("[fd00::1]:7"), of("fd00::1", Some(7)));
    assert_eq!(src("::ffff:10.0.0.1"), of("10.0.0.1", None));
    for bad in [
        "",
        "10.1.2",
        "10.1.2.3:",
        "10.1.2.3:70000",
        "[10.1.2.3]",
        "host",
    ] {
        let error = source(bad).unwrap_err();
        assert!(error.contains("10.1.2.3:40000"), "{bad}: {error}");
    }
}

#[test]
fn destinations_need_a_port() {
    assert_eq!(
        destination("10.96.0.10:53").unwrap().to_string(),
        "10.96.0.10:53"
    );
    assert_eq!(
        destination("[fd00::a]:53").unwrap().to_string(),
        "[fd00::a]:53"
    );
    for bad in ["10.96.0.10", "fd00::a", "[fd00::a]"] {
        let error = destination(bad).unwrap_err();
        assert!(error.contains("has no port"), "{bad}: {error}");
    }
    assert!(
        destination("10.96.0.10:0")
            .unwrap_err()
            .contains("1 to 65535")
    );
    assert!(destination("x:1").unwrap_err().contains("in brackets"));
}

#[test]
fn a_line_of_a_batch_is_a_question() {
    let text =
        r#"{"id":"7","src":"10.1.2.3","dst":"10.96.0.10:53","proto":"udp","from":"pod","note":1}"#;
    let question = line(text).unwrap();
    assert_eq!(question.id, Value::from("7"));
    assert_eq!(question.proto, Proto::Udp);
    assert_eq!(question.from, Some(Side::Pod));
    let text = r#"{"id":8,"src":"fd00::1","dst":"[fd00::2]:53","proto":"SCTP"}"#;
    let question = line(text).unwrap();
    assert_eq!(question.id, Value::from(8));
    assert_eq!((question.proto, question.from), (Proto::Sctp, None));
}

#[test]
fn a_bad_line_says_its_id_field_value_and_what_is_allowed() {
    let check = |text: &str, id: Value, parts: &[&str]| {
        let (found, error) = line(text).unwrap_err();
        assert_eq!(found, id, "{text}");
        for part in parts {
            assert!(error.contains(part), "{text}: {error}");
        }
    };
    check("{", Value::Null, &["not a flow as JSON", "\"src\""]);
    check("[1]", Value::Null, &["not a flow as JSON"]);
    check(
        r#"{"id":"a","src":"x","dst":"10.0.0.1:1","proto":"tcp"}"#,
        "a".into(),
        &["src", "\"x\"", "10.1.2.3"],
    );
    check(
        r#"{"id":"b","src":"10.0.0.1","proto":"tcp"}"#,
        "b".into(),
        &["dst", "missing", "port"],
    );
    check(
        r#"{"id":"c","src":"10.0.0.1","dst":"10.0.0.2:1","proto":"icmp"}"#,
        "c".into(),
        &["proto", "icmp", "tcp, udp, sctp"],
    );
    check(
        r#"{"id":"d","src":"10.0.0.1","dst":"10.0.0.2:1","proto":"tcp","from":"inside"}"#,
        "d".into(),
        &["from", "inside", "pod, host, outside"],
    );
    check(
        r#"{"id":"e","src":"10.0.0.1","dst":"[fd00::1]:1","proto":"tcp"}"#,
        "e".into(),
        &["src", "IPv4", "IPv6"],
    );
    check(
        r#"{"id":"f","src":7,"dst":"10.0.0.2:1","proto":"tcp"}"#,
        "f".into(),
        &["src", "7", "string"],
    );
}
