//! vhost-user: codec, back end as a Device, front end as a virtio Transport.
