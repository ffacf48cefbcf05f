//! Who signed what, for where, by what a request says of it. Whether the signature is right `s3s` checks after this.
//!
//! Signatures of version 4 alone, in the `Authorization` header or in the query (presigned). Those of version 2 are refused, for they
//! don't cover what is done, and never expire.
//!
//! What always holds, of what gets by: there is one signature; it covers `host` and every header of Amazon's (or else whoever holds a
//! presigned URL of a PUT makes it a copy of what he may not read, by one header more); it is for this service and this region.

use super::known::Query;
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The longest that a presigned URL may last, in seconds, as at S3: a week.
const PRESIGNED_S_MAX: u32 = 7 * 24 * 60 * 60;

/// What a signature says of itself.
struct Signature<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    /// What errors of its form are called.
    malformed: S3ErrorCode,
}

/// Whether a request is signed in a way that there is here.
///
/// # Errors
/// What is wrong, as S3 says it.
pub(super) fn check(parts: &Parts, query: &Query, region: &str) -> S3Result {
    let signature = match (query.has("X-Amz-Signature"), parts.headers.get(AUTHORIZATION)) {
        _ if query.has("Signature") || query.has("AWSAccessKeyId") => return Err(too_old()),
        (true, Some(_)) => {
            return Err(s3_error!(
                InvalidArgument,
                "sign in the query or in the Authorization header, not in both"
            ));
        }
        (true, None) => presigned(query)?,
        (false, Some(header)) => authorized(&parts.headers, header)?,
        (false, None) => {
            let how = "sign the request with an access key: skiff key create --role ROLE";
            return Err(s3_error!(AccessDenied, "there is no anonymous access: {how}"));
        }
    };
    check_scope(&signature, region)?;
    check_headers(&signature, &parts.headers)
}

fn too_old() -> S3Error {
    s3_error!(InvalidRequest, "signatures of version 2 are not taken: use {ALGORITHM}")
}

fn presigned(query: &Query) -> S3Result<Signature<'_>> {
    let malformed = S3ErrorCode::AuthorizationQueryParametersError;
    let one = |name: &'static str| {
        let error = || S3Error::with_message(malformed.clone(), format!("a presigned URL has {name} once"));
        query.one(name).ok_or_else(error)
    };
    if query.has("X-Amz-Security-Token") {
        return Err(s3_error!(
            InvalidToken,
            "there are no session tokens here: sign with an access key alone"
        ));
    }
    let seconds = one("X-Amz-Expires")?.parse::<u32>().ok();
    if seconds.is_none_or(|seconds| seconds == 0 || seconds > PRESIGNED_S_MAX) {
        let message = format!("X-Amz-Expires is a number of seconds, 1 to {PRESIGNED_S_MAX}");
        return Err(S3Error::with_message(malformed, message));
    }
    let (credential, signed_headers) = (one("X-Amz-Credential")?, one("X-Amz-SignedHeaders")?);
    Ok(Signature { credential, signed_headers, malformed })
}

fn authorized<'a>(headers: &HeaderMap, header: &'a HeaderValue) -> S3Result<Signature<'a>> {
    if headers.get_all(AUTHORIZATION).iter().count() > 1 {
        return Err(s3_error!(InvalidArgument, "there is more than one Authorization header"));
    }
    let text = header.to_str().unwrap_or_default();
    if text.starts_with("AWS ") {
        return Err(too_old());
    }
    let malformed = S3ErrorCode::AuthorizationHeaderMalformed;
    let parse = || {
        let rest = text.strip_prefix(ALGORITHM)?.trim_start();
        let (credential, rest) = rest.strip_prefix("Credential=")?.split_once(',')?;
        let (signed_headers, rest) = rest.trim_start().strip_prefix("SignedHeaders=")?.split_once(',')?;
        rest.trim_start().strip_prefix("Signature=")?;
        Some(Signature { credential, signed_headers, malformed: malformed.clone() })
    };
    let form = "Credential=.../DATE/REGION/s3/aws4_request, SignedHeaders=..., Signature=...";
    let message =
        || S3Error::with_message(malformed.clone(), format!("the header is not {ALGORITHM} {form}"));
    parse().ok_or_else(message)
}

/// For what a credential is: `KEY/DATE/REGION/SERVICE/aws4_request`.
fn check_scope(signature: &Signature<'_>, region: &str) -> S3Result {
    let error = |message: String| S3Error::with_message(signature.malformed.clone(), message);
    let parts: Vec<_> = signature.credential.split('/').collect();
    let [_, _, signed_for, service, "aws4_request"] = parts[..] else {
        return Err(error("the credential is not KEY/DATE/REGION/s3/aws4_request".into()));
    };
    if signed_for != region {
        return Err(error(format!("the region {signed_for:?} is wrong; expecting {region:?}")));
    }
    if service != "s3" {
        return Err(error(format!("incorrect service {service:?}. This endpoint belongs to \"s3\"")));
    }
    Ok(())
}

fn check_headers(signature: &Signature<'_>, headers: &HeaderMap) -> S3Result {
    let covers = |name: &str| signature.signed_headers.split(';').any(|signed| signed == name);
    let must = |name: &&str| *name == HOST.as_str() || name.starts_with("x-amz-");
    let unsigned: Vec<_> =
        headers.keys().map(|name| name.as_str()).filter(must).filter(|name| !covers(name)).collect();
    if !covers(HOST.as_str()) || !unsigned.is_empty() {
        let which = if unsigned.is_empty() { "host".into() } else { unsigned.join(", ") };
        return Err(s3_error!(
            AccessDenied,
            "there were headers present in the request which were not signed: {which}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    const SCOPE: &str = "SKIF0/20240101/us-east-1/s3/aws4_request";

    fn judged(uri: &str, headers: &[(&str, &str)]) -> Result<(), String> {
        let mut request = Request::builder().uri(uri).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let query = Query::of(&parts).unwrap();
        check(&parts, &query, "us-east-1").map_err(|error| error.code().as_str().to_owned())
    }

    fn header(credential: &str, signed: &str) -> String {
        format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature=0")
    }

    #[test]
    fn a_header_says_for_what_it_is() {
        let judge = |text: &str| judged("/a", &[("authorization", text), ("x-amz-date", "20240101T000000Z")]);
        assert_eq!(judge(&header(SCOPE, "host;x-amz-date")), Ok(()));
        assert_eq!(judge(&header(SCOPE, "host;x-amz-date").replace(", ", ",")), Ok(()));
        for (credential, signed, code) in [
            ("SKIF0/20240101/eu-west-1/s3/aws4_request", "host;x-amz-date", "AuthorizationHeaderMalformed"),
            ("SKIF0/20240101/us-east-1/sts/aws4_request", "host;x-amz-date", "AuthorizationHeaderMalformed"),
            ("SKIF0/20240101/us-east-1/s3/aws5_request", "host;x-amz-date", "AuthorizationHeaderMalformed"),
            ("SKIF0/us-east-1/s3/aws4_request", "host;x-amz-date", "AuthorizationHeaderMalformed"),
            (SCOPE, "x-amz-date", "AccessDenied"),
            (SCOPE, "host", "AccessDenied"),
            (SCOPE, "Host;X-Amz-Date", "AccessDenied"),
        ] {
            assert_eq!(judge(&header(credential, signed)), Err(code.into()), "{credential} {signed}");
        }
        for (text, code) in [
            ("AWS SKIF0:c2lnbmF0dXJl", "InvalidRequest"),
            ("Basic eDp5", "AuthorizationHeaderMalformed"),
            ("AWS4-HMAC-SHA256 SignedHeaders=host", "AuthorizationHeaderMalformed"),
        ] {
            assert_eq!(judge(text), Err(code.into()), "{text}");
        }
    }

    #[test]
    fn a_presigned_url_says_it_too() {
        let url = |change: &dyn Fn(String) -> String| {
            let scope = SCOPE.replace('/', "%2F");
            let start = format!(
                "/a/b?X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={scope}&X-Amz-Date=20240101T000000Z"
            );
            change(format!("{start}&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=0"))
        };
        assert_eq!(judged(&url(&|url| url), &[]), Ok(()));
        let malformed = "AuthorizationQueryParametersError";
        for (from, to, code) in [
            ("Expires=60", "Expires=604801", malformed),
            ("Expires=60", "Expires=0", malformed),
            ("Expires=60", "Expires=-1", malformed),
            ("&X-Amz-Expires=60", "", malformed),
            ("us-east-1", "eu-west-1", malformed),
            ("SignedHeaders=host", "SignedHeaders=host&X-Amz-SignedHeaders=host", malformed),
            ("SignedHeaders=host", "SignedHeaders=date", "AccessDenied"),
            ("X-Amz-Signature=0", "Signature=0", "InvalidRequest"),
            ("X-Amz-Signature", "x-amz-signature", "AccessDenied"),
        ] {
            assert_eq!(judged(&url(&|url| url.replace(from, to)), &[]), Err(code.into()), "{from} as {to}");
        }
        let copy = [("x-amz-copy-source", "/secret/key")];
        assert_eq!(judged(&url(&|url| url), &copy), Err("AccessDenied".into()));
        assert_eq!(
            judged(&url(&|url| url), &[("authorization", &header(SCOPE, "host"))]),
            Err("InvalidArgument".into())
        );
    }

    #[test]
    fn nobody_is_anonymous() {
        assert_eq!(judged("/a", &[]), Err("AccessDenied".into()));
        let twice = [("authorization", &header(SCOPE, "host")[..]), ("authorization", "x")];
        assert_eq!(judged("/a", &twice), Err("InvalidArgument".into()));
    }
}
