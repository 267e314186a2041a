//! The side that an authorised tester asks for.
//!
//! Owns who may ask and in which form. What must stay true: an unauthorised wish changes nothing, and no wish is ever
//! passed on to a side.

use crate::config::ForceConfig;
use crate::network::Network;
use crate::sign::Signer;
use banyan_domain::Side;
use std::net::IpAddr;

/// Header of a wish; the same name is the answer's header that tells the side.
pub(crate) const SIDE_HEADER: &str = "x-banyan-side";
/// Cookie of a wish.
pub(crate) const SIDE_COOKIE: &str = "banyan_side";
const PURPOSE: &str = "banyan-side";

/// Who may force a side.
pub(crate) struct Force {
    networks: Vec<Network>,
    signer: Option<Signer>,
}

impl Force {
    pub(crate) fn new(config: &ForceConfig) -> Self {
        let signer = config.secret.as_ref().and_then(|s| Signer::new(s.as_bytes(), PURPOSE));
        Self { networks: config.networks.clone(), signer }
    }

    /// Whether anybody at all may; if not, headers need not be read.
    pub(crate) fn is_possible(&self) -> bool {
        !self.networks.is_empty() || self.signer.is_some()
    }

    /// The side that `wish` names, if the wish is authorised.
    pub(crate) fn side(&self, wish: &str, address: Option<IpAddr>, now_s: u64) -> Option<Side> {
        let wish = wish.trim();
        if let Some(side) = Side::from_word(wish) {
            let address = address?;
            return self.networks.iter().any(|n| n.contains(address)).then_some(side);
        }
        let (text, signature) = wish.rsplit_once('.')?;
        let (word, until) = text.split_once('.')?;
        let alive = until.parse::<u64>().ok()? >= now_s;
        let signed = self.signer.as_ref()?.is_of(text, signature);
        if alive && signed { Side::from_word(word) } else { None }
    }
}

/// A signed wish, valid from anywhere until `until_s` (unix seconds): `new.1700000000.<signature>`.
pub fn sign_side(secret: &str, side: Side, until_s: u64) -> String {
    let text = format!("{side}.{until_s}");
    let signature = Signer::new(secret.as_bytes(), PURPOSE).map(|s| s.sign(&text));
    format!("{text}.{}", signature.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_networks_and_live_signatures_force_a_side() {
        let force = Force::new(&ForceConfig {
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            secret: Some("s".to_owned()),
        });
        let inside = Some("10.1.1.1".parse().unwrap());
        let outside = Some("8.8.8.8".parse().unwrap());
        assert_eq!(force.side("new", inside, 0), Some(Side::New));
        assert_eq!(force.side("new", outside, 0), None);
        assert_eq!(force.side("new", None, 0), None);
        let signed = sign_side("s", Side::New, 100);
        assert_eq!(force.side(&signed, outside, 100), Some(Side::New));
        assert_eq!(force.side(&signed, outside, 101), None);
        assert_eq!(force.side(&signed.replace("new", "legacy"), outside, 1), None);
        assert_eq!(force.side(&sign_side("t", Side::New, 100), inside, 1), None);
        assert_eq!(force.side("whatever", inside, 0), None);
        let nobody = Force::new(&ForceConfig::default());
        assert!(!nobody.is_possible());
        assert_eq!(nobody.side("new", inside, 0), None);
    }
}
