//! A line of the access log as Elastic Load Balancing writes it (AWS, "Access logs for your Application Load Balancer",
//! "Access log entries"): fields in a fixed order, `-` where there is nothing to say, times in seconds. So what reads that
//! reads this.
//!
//! What is told otherwise: names stand where that has ARNs, and `elb` is `skiff/` and the listener's. `received_bytes` and
//! `sent_bytes` are of bodies alone. A task that is called has the port 0. `matched_rule_priority` is `service` where a
//! service's own host and path led to it. `trace_id` is that of `traceparent`, `error_reason` a sentence. A TCP connection
//! has a line of the type `tcp`, a handshake of TLS that failed one of the type `tls`; of HTTP/2 in clear, which ELB does
//! not speak, the type is `http`. What of a text could end it is written as `\x` and two hexadecimal digits.
//!
//! It deliberately writes no field that came to ELB's lines later than `classification_reason`.

use super::{CLIENT_CLOSED_REQUEST, Line, push_number};
use crate::guard::Fault;

/// ELB's number for a client that left before the answer.
const CLIENT_CLOSED_REQUEST_OF_ELB: u16 = 460;

/// Writes a line without its end; `begun` and `ended` are in milliseconds, RFC 3339.
pub(super) fn write(out: &mut Vec<u8>, begun: &str, ended: &str, line: &Line<'_>) {
    let mut fields = Fields(out);
    fields.raw(kind(line));
    fields.time(ended);
    fields.raw(" skiff/");
    fields.raw(line.listener.map_or("-", |listener| listener.name().as_str()));
    fields.client(line);
    fields.target(" ", line, "");
    for time in [line.request_processing_us, line.target_processing_us, line.response_processing_us] {
        fields.seconds(time);
    }
    let status = match (line.status, line.target_status) {
        (CLIENT_CLOSED_REQUEST, None) => CLIENT_CLOSED_REQUEST_OF_ELB,
        (status, _) => status,
    };
    fields.status(" ", (status != 0).then_some(status), "");
    fields.status(" ", line.target_status, "");
    fields.number(line.bytes_in);
    fields.number(line.bytes_out);
    fields.request(line);
    fields.quoted(line.user_agent);
    fields.word(line.tls_cipher);
    fields.word(line.tls_protocol);
    fields.word(line.target_group);
    fields.quoted(line.trace_id);
    fields.quoted(line.domain_name);
    fields.quoted(match line.is_resumed {
        true => Some("session-reused"),
        false => line.certificate.map(|certificate| certificate.as_str()),
    });
    fields.raw(" ");
    match line.ground {
        Some(ground) => ground.by.write(fields.0),
        None => fields.raw("-"),
    }
    fields.time(begun);
    fields.quoted(line.ground.map(|ground| ground.action));
    fields.quoted(line.redirect_url);
    fields.quoted(line.error);
    fields.target(" \"", line, "\"");
    fields.status(" \"", line.target_status, "\"");
    let classified = line.fault.and_then(classification);
    fields.quoted(classified.map(|(classification, _)| classification));
    fields.quoted(classified.map(|(_, reason)| reason));
}

/// What kind of request or connection it was.
fn kind(line: &Line<'_>) -> &'static str {
    const SWITCHING_PROTOCOLS: u16 = 101;
    let is_tls = line.tls_protocol.is_some();
    match line.protocol {
        "TCP" => "tcp",
        "TLS" => "tls",
        _ if line.status == SWITCHING_PROTOCOLS && is_tls => "wss",
        _ if line.status == SWITCHING_PROTOCOLS => "ws",
        "HTTP/2" if is_tls && line.is_grpc => "grpcs",
        "HTTP/2" if is_tls => "h2",
        _ if is_tls => "https",
        _ => "http",
    }
}

/// What ELB calls a request of this fault (its "desync mitigation mode"), and why; nothing where it has no name for it.
fn classification(fault: Fault) -> Option<(&'static str, &'static str)> {
    Some(match fault {
        Fault::BareCr
        | Fault::Folding
        | Fault::Control
        | Fault::NoColon
        | Fault::HeaderName
        | Fault::SpaceBeforeColon => ("Severe", "BadHeader"),
        Fault::RequestLine | Fault::Target => ("Severe", "BadUri"),
        Fault::Method => ("Severe", "BadMethod"),
        Fault::Version => ("Severe", "BadVersion"),
        Fault::Lengths => ("Severe", "MultipleContentLength"),
        Fault::Length => ("Severe", "BadContentLength"),
        Fault::Encoding | Fault::EncodingInHttp10 => ("Severe", "BadTransferEncoding"),
        Fault::LengthAndEncoding => ("Ambiguous", "BothTeClPresent"),
        Fault::BareLf
        | Fault::Hosts
        | Fault::NoHost
        | Fault::ChunkSize
        | Fault::ChunkExtensions { .. }
        | Fault::ChunkEnd
        | Fault::Trailer
        | Fault::TooLarge { .. } => return None,
    })
}

struct Fields<'a>(&'a mut Vec<u8>);

impl Fields<'_> {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Text of the platform's own, in which no space can be.
    fn word(&mut self, text: Option<&str>) {
        self.raw(" ");
        self.raw(text.filter(|text| !text.is_empty()).unwrap_or("-"));
    }

    fn number(&mut self, number: u64) {
        self.raw(" ");
        push_number(self.0, number);
    }

    /// A time with the microseconds that ELB's has.
    fn time(&mut self, time: &str) {
        self.raw(" ");
        self.raw(time.strip_suffix('Z').unwrap_or(time));
        self.raw("000Z");
    }

    /// Seconds with three digits behind the point; -1 where it did not come to that.
    fn seconds(&mut self, time_us: Option<u64>) {
        let Some(time_us) = time_us else { return self.raw(" -1") };
        let time_ms = time_us / 1_000;
        self.number(time_ms / 1_000);
        self.raw(".");
        let digit = |divisor: u64| b'0' + (time_ms / divisor % 10) as u8;
        self.0.extend_from_slice(&[digit(100), digit(10), digit(1)]);
    }

    fn client(&mut self, line: &Line<'_>) {
        let is_ipv6 = line.client.contains(':');
        let (before, after) = if is_ipv6 { (" [", "]:") } else { (" ", ":") };
        self.raw(before);
        self.raw(line.client);
        self.raw(after);
        push_number(self.0, line.client_port.into());
    }

    fn target(&mut self, before: &str, line: &Line<'_>, after: &str) {
        self.raw(before);
        self.raw(line.task.unwrap_or("-"));
        if let Some(port) = line.target_port {
            self.raw(":");
            push_number(self.0, port.into());
        }
        self.raw(after);
    }

    fn status(&mut self, before: &str, status: Option<u16>, after: &str) {
        self.raw(before);
        match status {
            Some(status) => push_number(self.0, status.into()),
            None => self.raw("-"),
        }
        self.raw(after);
    }

    /// The method, the URL with its port, the version; each `-` where no request came.
    fn request(&mut self, line: &Line<'_>) {
        if line.method.is_empty() {
            return self.raw(" \"- - -\"");
        }
        self.raw(" \"");
        self.escaped(line.method);
        if let Some(listener) = line.listener {
            let forwarded = listener.forwarded();
            self.raw(" ");
            self.raw(forwarded.proto.to_str().unwrap_or_default());
            self.raw("://");
            self.escaped(line.host);
            let has_port = line.host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
            if !has_port {
                self.raw(":");
                self.raw(forwarded.port.to_str().unwrap_or_default());
            }
        }
        self.escaped(line.path);
        self.raw(" ");
        self.raw(if line.protocol == "HTTP/2" { "HTTP/2.0" } else { line.protocol });
        self.raw("\"");
    }

    fn quoted(&mut self, text: Option<&str>) {
        self.raw(" \"");
        self.escaped(text.filter(|text| !text.is_empty()).unwrap_or("-"));
        self.raw("\"");
    }

    /// Text that nobody takes for the end of its field, or of the line.
    fn escaped(&mut self, text: &str) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let must_escape = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\') | (byte == 0x7f);
        // Without a way out before its end, so that it looks at many bytes at once.
        if !text.bytes().fold(false, |found, byte| found | must_escape(byte)) {
            return self.raw(text);
        }
        for byte in text.bytes() {
            if must_escape(byte) {
                let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
                self.0.extend_from_slice(&[b'\\', b'x', high, low]);
            } else {
                self.0.push(byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::tests::full_line;
    use crate::config::Proto;
    use crate::decision::{By, Ground};
    use crate::listener::Listener;

    #[track_caller]
    fn check(line: &Line<'_>, expected: &str) {
        let mut out = Vec::new();
        write(&mut out, "2026-01-31T23:59:58.765Z", "2026-01-31T23:59:59.999Z", line);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_line_has_all_fields_in_elbs_order() {
        let expected = [
            "https 2026-01-31T23:59:59.999000Z skiff/http 10.0.0.9:4711 t1:8080 0.000 1.200 -1 502 200 5 70000",
            r#""POST http://shop.example:80/a?b=\x22c\x22 HTTP/1.1" "te\x5Cst\x01/é""#,
            "TLS_AES_128_GCM_SHA256 TLSv1.3 default/blue",
            r#""4bf92f3577b34da6a3ce929d0e0e4736" "shop.example" "shop" 7 2026-01-31T23:59:58.765000Z"#,
            r#""forward" "-" "it broke" "t1:8080" "200" "-" "-""#,
        ];
        full_line(|line| check(line, &expected.join(" ")));
    }

    #[test]
    fn what_there_is_nothing_to_say_of_is_a_dash() {
        let listener = Listener::built_in(Proto::Https, 8443);
        let ground = Ground { by: By::Default, action: "redirect" };
        let line = Line {
            listener: Some(&listener),
            client: "2001:db8::1",
            client_port: 9,
            method: "GET",
            host: "[::1]",
            path: "/",
            protocol: "HTTP/2",
            status: 301,
            ground: Some(ground),
            redirect_url: Some("https://a:443/"),
            tls_protocol: Some("TLSv1.2"),
            tls_cipher: Some("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            is_resumed: true,
            ..Line::default()
        };
        let expected = [
            "h2 2026-01-31T23:59:59.999000Z skiff/http [2001:db8::1]:9 - -1 -1 -1 301 - 0 0",
            r#""GET https://[::1]:8443/ HTTP/2.0" "-" TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 TLSv1.2 -"#,
            r#""-" "-" "session-reused" 0 2026-01-31T23:59:58.765000Z"#,
            r#""redirect" "https://a:443/" "-" "-" "-" "-" "-""#,
        ];
        check(&line, &expected.join(" "));
    }

    #[test]
    fn what_is_no_request_is_named_after_what_is_wrong_with_it() {
        let error = Some("the request is malformed");
        let line = Line { client: "10.0.0.9", status: 400, error, ..Line::default() };
        let expected = |classified: &str| {
            [
                "http 2026-01-31T23:59:59.999000Z skiff/- 10.0.0.9:0 - -1 -1 -1 400 - 0 0",
                r#""- - -" "-" - - - "-" "-" "-" - 2026-01-31T23:59:58.765000Z"#,
                r#""-" "-" "the request is malformed" "-" "-""#,
                classified,
            ]
            .join(" ")
        };
        check(&Line { fault: Some(Fault::Hosts), ..line }, &expected(r#""-" "-""#));
        let severe = expected(r#""Severe" "MultipleContentLength""#);
        check(&Line { fault: Some(Fault::Lengths), ..line }, &severe);
    }

    #[test]
    fn each_kind_of_request_has_a_type() {
        let of = |protocol, status, tls_protocol, is_grpc| {
            kind(&Line { protocol, status, tls_protocol, is_grpc, ..Line::default() })
        };
        let tls = Some("TLSv1.3");
        assert_eq!([of("HTTP/1.1", 200, None, false), of("HTTP/1.0", 200, tls, false)], ["http", "https"]);
        assert_eq!([of("HTTP/2", 200, None, true), of("HTTP/2", 200, tls, false)], ["http", "h2"]);
        assert_eq!([of("HTTP/2", 200, tls, true), of("HTTP/1.1", 101, None, false)], ["grpcs", "ws"]);
        assert_eq!([of("HTTP/1.1", 101, tls, false), of("TCP", 0, None, false)], ["wss", "tcp"]);
        assert_eq!(of("TLS", 0, None, false), "tls");
    }

    #[test]
    fn a_client_that_left_has_elbs_number_and_a_target_keeps_its_own() {
        let mut out = Vec::new();
        for target_status in [None, Some(499)] {
            write(&mut out, "Z", "Z", &Line { status: 499, target_status, ..Line::default() });
            out.push(b'\n');
        }
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains(" 460 - ") && lines[1].contains(" 499 499 "), "{text}");
    }
}
