# The controller dies right before it starts the replica, beside a source whose host does not answer. When it comes back the source serves again: the two do not meet.
vm web on production

protect web from production to recovery
run web
production stops answering
fault at recovery.hypervisor.start: crash-before
fail over web
production answers again
a controller starts
until everything has settled
expect web-replica off
expect the last operation suspended
shut down web on production
retry web
expect web-replica connected
