//! Semantic events: brokers, forwarder, one emitter per context.
