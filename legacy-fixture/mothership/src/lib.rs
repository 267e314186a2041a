//! A monolith with Rails manners to practise on.
