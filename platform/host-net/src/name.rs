//! What may be looked up: a name of the domain name system, or an address, which then needs nobody to be asked.
//!
//! Names with letters beyond ASCII are put in the form that name servers know (IDNA, RFC 5891), and addresses are read in all
//! the ways in which a URL may write them (WHATWG URL, "host parsing"), which is what other hosts of WASI do too.

use skiff_net::NetError;
use std::net::{IpAddr, Ipv6Addr};
use url::Host;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// An address, as itself.
    Address(IpAddr),
    /// A name in ASCII and lower case.
    Name(String),
}

/// Reads what a guest wants looked up.
///
/// # Errors
/// `InvalidArgument` if it is neither a name nor an address.
pub(crate) fn asked(text: &str) -> Result<Asked, NetError> {
    match Host::parse(text) {
        Ok(Host::Domain(name)) => Ok(Asked::Name(name)),
        Ok(Host::Ipv4(address)) => Ok(Asked::Address(address.into())),
        Ok(Host::Ipv6(address)) => Ok(Asked::Address(address.into())),
        // In a URL it would stand in brackets.
        Err(_) => match text.parse::<Ipv6Addr>() {
            Ok(address) => Ok(Asked::Address(address.into())),
            Err(_) => Err(NetError::InvalidArgument),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_nobody_to_be_asked() {
        for (text, address) in [
            ("0.0.0.0", "0.0.0.0"),
            ("127.0.0.1", "127.0.0.1"),
            ("::", "::"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("DEAD:BEEF::0", "dead:beef::"),
        ] {
            assert_eq!(asked(text), Ok(Asked::Address(address.parse().unwrap())), "{text}");
        }
    }

    #[test]
    fn names_are_put_in_ascii() {
        for (text, name) in [
            ("api.shop.internal", "api.shop.internal"),
            ("Example.COM", "example.com"),
            ("münchen.de", "xn--mnchen-3ya.de"),
        ] {
            assert_eq!(asked(text), Ok(Asked::Name(name.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", " ", "a b", "a.b<&>", "[::1", "example.com:80", "http://example.com/", "999.0.0.1"] {
            assert_eq!(asked(text), Err(NetError::InvalidArgument), "{text}");
        }
    }
}
