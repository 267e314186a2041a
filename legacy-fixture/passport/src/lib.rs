//! Signed sessions and API tokens that the monolith and its services share.
