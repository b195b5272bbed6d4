//! Renewal information of the authority (RFC 9773): the time from which a certificate is renewed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::authority;
use crate::domain::acme::{RenewalWindow, Validity, asked_again_in};
use crate::tls::Chain;

/// Time of the renewal of the present certificate, as far as it is known.
#[derive(Clone, Default)]
pub(super) struct Renewals(Arc<Mutex<Option<KnownRenewal>>>);

#[derive(Clone)]
struct KnownRenewal {
    /// Id of the certificate at the authority.
    certificate: String,
    window: Option<RenewalWindow>,
    /// Selects the point in the window. Drawn once per certificate: if it were drawn again with each request,
    /// an early point would become likely.
    random: f64,
    ask_at: SystemTime,
}

impl Renewals {
    /// Returns the time from which the certificate is renewed. Asks the authority, unless its last answer is
    /// still good. Without an answer, the last window is used, or the rule for authorities without one.
    pub async fn renewal(&self, directory: &str, chain: &Chain, random: f64) -> SystemTime {
        let validity = chain.validity();
        let Some(certificate) = chain.renewal_id() else { return validity.renewed_from() };
        let now = SystemTime::now();
        let known = self.known().filter(|known| known.certificate == certificate);
        if let Some(known) = known.as_ref().filter(|known| now < known.ask_at) {
            return known.renewal(validity);
        }
        let (window, again) = match authority::renewal_information(directory, &certificate).await {
            Ok((information, told)) => (RenewalWindow::read(&information), asked_again_in(told)),
            Err(error) => {
                tracing::debug!(error, "the authority gave no renewal information");
                (known.as_ref().and_then(|known| known.window), asked_again_in(Some(0)))
            }
        };
        let random = known.map_or(random, |known| known.random);
        let known = KnownRenewal { certificate, window, random, ask_at: now + again };
        let renewal = known.renewal(validity);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        renewal
    }

    fn known(&self) -> Option<KnownRenewal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl KnownRenewal {
    fn renewal(&self, validity: Validity) -> SystemTime {
        validity.renewed_within(self.window, self.random)
    }
}
