# The undo of a failback has stopped production, and the replica does not start. By the time that somebody retries it, somebody else has started production: the two do not meet.
vm web on production

protect web from production to recovery
run web
fail over web fencing by shutdown
fail back web
switch web over
fault at recovery.hypervisor.start 4 times: fail
undo the failback of web
expect the last operation suspended
start web on production
retry web
expect web-replica off
shut down web on production
retry web
expect web-replica connected
