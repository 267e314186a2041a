//! Private servers for tests: MariaDB, Postgres, memcached and RabbitMQ on free loopback ports, each in a directory of its own.
//!
//! It exists so that every crate's tests start servers the same way and none touches a system service. What must
//! stay true: a server ends with the test process, however that ends (a watchdog child kills its process group);
//! an absent server is said loudly, and is a failure when `BANYAN_TEST_NO_SKIP=1`.

mod memcached;
mod process;
mod rabbitmq;
mod sql;

pub use memcached::memcached;
pub use process::{Server, or_skip};
pub use rabbitmq::{RabbitMq, rabbitmq, rabbitmq_with_management, rabbitmq_with_shovel};
pub use sql::{mariadb, mariadb_in_zone, postgres};
