# The source's host does not answer, and the replica does not start. By the time that somebody retries it, the source is back and serves: the two do not meet.
vm web on production

protect web from production to recovery
run web
production stops answering
fault at recovery.hypervisor.start 2 times: fail
fail over web
expect the last operation suspended
production answers again
retry web
expect web-replica off
shut down web on production
retry web
expect web-replica connected
