//! Which query parameters and headers there are. One that would change what is done, and is not known here, is refused by name.
//!
//! For a parameter that is passed over turns one operation into another: `DELETE /bucket?something` is then the bucket's end, and
//! `PUT /bucket/key?something` an empty object in the place of the one that was there.

use super::text::form_decoded;
use http::HeaderMap;
use http::request::Parts;
use s3s::{S3Error, S3Result, s3_error};

/// Parameters in a query: more than any client has.
const PARAMETERS_MAX: usize = 64;

/// What operations of ours go by. Those that `s3s` knows besides it refuses itself.
const PARAMETERS: &[&str] = &[
    "attributes",
    "bucket-region",
    "continuation-token",
    "delete",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "location",
    "marker",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "partNumber",
    "prefix",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "start-after",
    "upload-id-marker",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
];

/// The names and values of a query, decoded.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// # Errors
    /// If it is none, or has too many parameters.
    pub(super) fn of(parts: &Parts) -> S3Result<Self> {
        let text = parts.uri.query().unwrap_or_default();
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let mut query = Vec::new();
        for pair in pairs {
            if query.len() == PARAMETERS_MAX {
                return Err(s3_error!(InvalidURI, "a query may have {PARAMETERS_MAX} parameters at most"));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = form_decoded(name).zip(form_decoded(value));
            query.push(decoded.ok_or_else(|| s3_error!(InvalidURI, "the query is not UTF-8"))?);
        }
        Ok(Self(query))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// The value of a parameter that is there once.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value)
    }
}

/// Whether all that is asked for is something that there is here.
///
/// # Errors
/// What is not, by its name.
pub(super) fn check(parts: &Parts, query: &Query) -> S3Result {
    for (name, value) in &query.0 {
        // What begins so is of signatures, or of clients' own.
        let others = name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"));
        if !others && !PARAMETERS.contains(&name.as_str()) {
            return Err(s3_error!(NotImplemented, "the parameter {name:?} is not one of this endpoint's"));
        }
        // In presigned URLs some clients say so what is a header elsewhere.
        let lower = name.to_ascii_lowercase();
        if let Some(error) = lower.strip_prefix("x-amz-").and_then(|name| refused(name, value.as_bytes())) {
            return Err(error);
        }
        if name == "versionId" && value != "null" {
            return Err(s3_error!(
                InvalidArgument,
                "there is no version {value:?}: objects have one version, \"null\""
            ));
        }
    }
    check_headers(&parts.headers)
}

fn check_headers(headers: &HeaderMap) -> S3Result {
    for (name, value) in headers {
        let (name, value) = (name.as_str(), value.as_bytes());
        if let Some(error) = name.strip_prefix("x-amz-").and_then(|name| refused(name, value)) {
            return Err(error);
        }
        // A form is read into memory before its signature can be checked.
        if name == "content-type" && value.to_ascii_lowercase().starts_with(b"multipart/") {
            return Err(s3_error!(
                NotImplemented,
                "there are no uploads by browser forms here: presign a PUT instead"
            ));
        }
    }
    Ok(())
}

/// What is wrong with a header of Amazon's, by its name without `x-amz-`.
fn refused(name: &str, value: &[u8]) -> Option<S3Error> {
    let missing = |what: &str| s3_error!(NotImplemented, "there is no {what} here: leave x-amz-{name} out");
    let private = [&b"private"[..], b"bucket-owner-full-control"];
    match name {
        "acl" if !private.contains(&value) => Some(s3_error!(
            AccessControlListNotSupported,
            "there are no access control lists here: what may be done is said by roles"
        )),
        _ if name.starts_with("grant-") => Some(s3_error!(
            AccessControlListNotSupported,
            "there are no access control lists here: what may be done is said by roles"
        )),
        "storage-class" if value != b"STANDARD" => {
            Some(s3_error!(InvalidStorageClass, "there is the storage class STANDARD alone"))
        }
        "security-token" => {
            Some(s3_error!(InvalidToken, "there are no session tokens here: sign with an access key alone"))
        }
        "tagging" => Some(missing("tagging")),
        "website-redirect-location" => Some(missing("website")),
        "write-offset-bytes" => Some(missing("appending to objects")),
        "rename-source" => Some(missing("renaming of objects")),
        _ if name.starts_with("server-side-encryption") => Some(missing("encryption by the endpoint")),
        _ if name.starts_with("copy-source-server-side-encryption") => {
            Some(missing("encryption by the endpoint"))
        }
        _ if name.starts_with("object-lock") || name == "bucket-object-lock-enabled" => {
            Some(missing("locking of objects"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn judged(uri: &str, header: Option<(&str, &str)>) -> S3Result {
        let mut request = Request::builder().uri(uri);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts, &Query::of(&parts)?)
    }

    #[test]
    fn what_would_be_passed_over_is_refused() {
        for good in [
            "/a",
            "/a?list-type=2&prefix=x%2F",
            "/a/b?versionId=null&x-id=GetObject",
            "/a?delete",
            "/a?&&uploads=",
        ] {
            assert!(judged(good, None).is_ok(), "{good}");
        }
        for bad in [
            "/a?lifecycl",
            "/a?metadataConfiguration",
            "/a/b?renameObject",
            "/a/b?versionId=1",
            "/a/b?X-Amz-Acl=public-read",
            "/a?%6Cifecycle",
            "/a?=",
        ] {
            assert!(judged(bad, None).is_err(), "{bad}");
        }
        let many = format!("/a?{}", "prefix=&".repeat(PARAMETERS_MAX + 1));
        assert!(judged(&many, None).is_err());
    }

    #[test]
    fn headers_that_promise_more_than_there_is_are_refused() {
        for (name, value, good) in [
            ("x-amz-acl", "private", true),
            ("x-amz-acl", "public-read", false),
            ("x-amz-grant-read", "id=1", false),
            ("x-amz-server-side-encryption", "AES256", false),
            ("x-amz-storage-class", "STANDARD", true),
            ("x-amz-storage-class", "GLACIER", false),
            ("x-amz-tagging", "a=b", false),
            ("x-amz-object-lock-mode", "GOVERNANCE", false),
            ("x-amz-security-token", "x", false),
            ("x-amz-meta-acl", "public-read", true),
            ("content-type", "text/plain", true),
            ("content-type", "Multipart/Form-Data; boundary=x", false),
        ] {
            assert_eq!(judged("/a/b", Some((name, value))).is_ok(), good, "{name}: {value}");
        }
    }

    #[test]
    fn a_parameter_that_is_there_twice_is_no_one() {
        let (parts, ()) = Request::builder().uri("/a?x-a=1&x-b=2&x-a=3").body(()).unwrap().into_parts();
        let query = Query::of(&parts).unwrap();
        assert_eq!((query.one("x-a"), query.one("x-b"), query.one("x-c")), (None, Some("2"), None));
        assert!(query.has("x-a"));
    }
}
