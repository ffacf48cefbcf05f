//! A line of the access log as JSON: one object with every field, `null` where there is nothing to say; those of TLS are
//! there where TLS is spoken alone.
//!
//! Names are written with what stands around them, so that a field costs two copies. What a client chose is looked
//! through at once for what must be escaped, which is seldom there.

use super::{Line, push_number};

/// Writes a line without its end.
pub(super) fn write(out: &mut Vec<u8>, time: &str, line: &Line<'_>) {
    let mut json = Json(out);
    json.plain(r#"{"time":"#, time);
    json.plain_or_null(r#","listener":"#, line.listener.map(|listener| listener.name().as_str()));
    json.plain(r#","client":"#, line.client);
    json.number(r#","client_port":"#, line.client_port.into());
    json.text(r#","method":"#, line.method);
    json.text(r#","host":"#, line.host);
    json.text(r#","path":"#, line.path);
    json.plain(r#","protocol":"#, line.protocol);
    json.number(r#","status":"#, line.status.into());
    json.number_or_null(r#","target_status":"#, line.target_status.map(u64::from));
    json.number(r#","bytes_in":"#, line.bytes_in);
    json.number(r#","bytes_out":"#, line.bytes_out);
    json.number(r#","duration_us":"#, line.duration_us);
    json.number_or_null(r#","request_processing_us":"#, line.request_processing_us);
    json.number_or_null(r#","target_processing_us":"#, line.target_processing_us);
    json.number_or_null(r#","response_processing_us":"#, line.response_processing_us);
    json.text_or_null(r#","service":"#, line.service);
    json.text_or_null(r#","target_group":"#, line.target_group);
    json.text_or_null(r#","task":"#, line.task);
    match line.ground {
        Some(ground) => {
            json.raw(r#","matched_rule_priority":""#);
            ground.by.write(json.0);
            json.raw(r#"","actions_executed":""#);
            json.raw(ground.action);
            json.raw("\"");
        }
        None => json.raw(r#","matched_rule_priority":null,"actions_executed":null"#),
    }
    json.text_or_null(r#","redirect_url":"#, line.redirect_url);
    json.plain(r#","request_id":"#, line.request_id);
    json.plain_or_null(r#","trace_id":"#, line.trace_id);
    json.text_or_null(r#","user_agent":"#, line.user_agent);
    json.text_or_null(r#","error":"#, line.error);
    json.text_if_any(r#","tls_protocol":"#, line.tls_protocol);
    json.text_if_any(r#","tls_cipher":"#, line.tls_cipher);
    json.text_if_any(r#","domain_name":"#, line.domain_name);
    json.text_if_any(r#","certificate":"#, line.certificate.map(|certificate| certificate.as_str()));
    json.raw("}");
}

struct Json<'a>(&'a mut Vec<u8>);

impl Json<'_> {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Text in which nothing can be that must be escaped.
    fn plain(&mut self, name: &str, text: &str) {
        self.raw(name);
        self.raw("\"");
        self.raw(text);
        self.raw("\"");
    }

    fn plain_or_null(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.plain(name, text),
            None => self.null(name),
        }
    }

    /// Any text.
    fn text(&mut self, name: &str, text: &str) {
        let must_escape = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
        // Without a way out before its end, so that it looks at many bytes at once.
        if text.bytes().fold(false, |found, byte| found | must_escape(byte)) {
            self.raw(name);
            serde_json::to_writer(&mut *self.0, text).expect("text makes JSON");
        } else {
            self.plain(name, text);
        }
    }

    fn text_or_null(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None => self.null(name),
        }
    }

    /// Nothing at all, where there is none.
    fn text_if_any(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn number(&mut self, name: &str, number: u64) {
        self.raw(name);
        push_number(self.0, number);
    }

    fn number_or_null(&mut self, name: &str, number: Option<u64>) {
        match number {
            Some(number) => self.number(name, number),
            None => self.null(name),
        }
    }

    fn null(&mut self, name: &str) {
        self.raw(name);
        self.raw("null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::tests::full_line;

    fn written(line: &Line<'_>) -> serde_json::Value {
        let mut out = Vec::new();
        write(&mut out, "2026-01-31T23:59:59.000Z", line);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_line_has_every_field() {
        let expected = serde_json::json!({
            "time": "2026-01-31T23:59:59.000Z", "listener": "http", "client": "10.0.0.9", "client_port": 4711,
            "method": "POST", "host": "shop.example", "path": "/a?b=\"c\"", "protocol": "HTTP/1.1",
            "status": 502, "target_status": 200, "bytes_in": 5, "bytes_out": 70_000, "duration_us": 1_234_567,
            "request_processing_us": 0, "target_processing_us": 1_200_499, "response_processing_us": null,
            "service": "default/web", "target_group": "default/blue", "task": "t1",
            "matched_rule_priority": "7", "actions_executed": "forward",
            "redirect_url": null, "request_id": "id-1",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "user_agent": "te\\st\u{1}/é", "error": "it broke",
            "tls_protocol": "TLSv1.3", "tls_cipher": "TLS_AES_128_GCM_SHA256", "domain_name": "shop.example",
            "certificate": "shop",
        });
        full_line(|line| assert_eq!(written(line), expected));
    }

    #[test]
    fn what_there_is_nothing_to_say_of_is_null_and_that_of_tls_is_left_out() {
        let line = written(&Line::default());
        for name in [
            "listener",
            "target_status",
            "target_processing_us",
            "matched_rule_priority",
            "trace_id",
            "error",
        ] {
            assert!(line.get(name).is_some_and(serde_json::Value::is_null), "{name}: {line}");
        }
        assert!(line.get("tls_protocol").is_none() && line.get("certificate").is_none(), "{line}");
        assert_eq!((&line["status"], &line["method"]), (&0.into(), &"".into()));
    }
}
