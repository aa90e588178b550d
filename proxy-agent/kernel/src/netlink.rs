//! rtnetlink: requests, dumps, events.
