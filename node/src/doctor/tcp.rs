//! Whether the controller answers over TCP, directly or through the HTTP proxy, and would carry the tunnel there.

use super::report::Finding;
use crate::agent::{LinkError, LinkFault};
use crate::control::look::Carried;
use crate::text::Lang;
use crate::text::doctor::{self as text, trouble};

pub(super) fn judge(tcp: &[(String, Carried)], lang: Lang) -> Finding {
    let whole = tcp
        .iter()
        .find(|(_, it)| it.control.is_ok() && it.carrier.is_ok());
    if let Some((controller, carried)) = whole {
        return match &carried.proxy {
            None => Finding::ok("tcp-answers", text::tcp_answers(lang, controller)),
            Some(proxy) => {
                let said = text::tcp_through_proxy(lang, controller, proxy);
                Finding::ok("tcp-through-proxy", said)
            }
        };
    }
    let Some((controller, carried)) = tcp.first() else {
        return Finding::could_not_test("tcp-no-controller", text::no_controller(lang));
    };
    match (&carried.control, &carried.carrier) {
        (Err(why), Err(_)) => failed(controller, why, lang),
        (Err(why), Ok(())) | (Ok(_), Err(why)) => {
            Finding::problem("tcp-partly", trouble::tcp_partly(lang, controller, why))
        }
        // Found above.
        (Ok(_), Ok(())) => Finding::ok("tcp-answers", text::tcp_answers(lang, controller)),
    }
}

fn failed(controller: &str, why: &LinkError, lang: Lang) -> Finding {
    match why.fault {
        LinkFault::Name => Finding::could_not_test("tcp-no-address", why.to_string()),
        LinkFault::Proxy | LinkFault::ProxyRefused => {
            Finding::problem("tcp-proxy", trouble::tcp_proxy(lang, why))
        }
        LinkFault::Unreachable => {
            Finding::problem("tcp-silent", trouble::tcp_silent(lang, controller, why))
        }
        _ => Finding::problem("tcp-broken", trouble::tcp_broken(lang, controller, why)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    fn code(
        control: Result<(), LinkFault>,
        carrier: Result<(), LinkFault>,
        proxy: Option<&str>,
    ) -> (Verdict, &'static str) {
        let error = |fault| LinkError::new(fault, "the detail");
        let carried = Carried {
            proxy: proxy.map(str::to_owned),
            control: control.map(|()| None).map_err(error),
            carrier: carrier.map_err(error),
            is_untimely: false,
        };
        let said = judge(&[("hub.example:443".into(), carried)], Lang::En);
        (said.verdict, said.code)
    }

    #[test]
    fn both_protocols_must_pass() {
        use LinkFault::{Closed, Name, Proxy, ProxyRefused, Tls, Unreachable, WrongController};
        use Verdict::{CouldNotTest, Ok as Fine, Problem};
        assert_eq!(code(Ok(()), Ok(()), None), (Fine, "tcp-answers"));
        let through = code(Ok(()), Ok(()), Some("proxy.example:3128"));
        assert_eq!(through, (Fine, "tcp-through-proxy"));
        assert_eq!(code(Ok(()), Err(Closed), None), (Problem, "tcp-partly"));
        assert_eq!(code(Err(Closed), Ok(()), None), (Problem, "tcp-partly"));
        for (fault, expected) in [
            (Unreachable, (Problem, "tcp-silent")),
            (Proxy, (Problem, "tcp-proxy")),
            (ProxyRefused, (Problem, "tcp-proxy")),
            (Tls, (Problem, "tcp-broken")),
            (WrongController, (Problem, "tcp-broken")),
            (Name, (CouldNotTest, "tcp-no-address")),
        ] {
            assert_eq!(code(Err(fault), Err(fault), None), expected);
        }
        assert_eq!(judge(&[], Lang::En).code, "tcp-no-controller");
    }
}
