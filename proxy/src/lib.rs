//! The pingora data plane: decide, forward, tee, hand over.
