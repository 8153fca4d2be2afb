# Production was saved to disk with its memory: over other disks that must not be resumed, so the failback refuses, and throws it away only when told to.
vm web on production

protect web from production to recovery
run web
save web
fail over web
fail back web
expect web in Failover
fail back web, discarding the saved state
expect web in ReadyToSwitch
cancel the failback of web
expect web in Failover
expect web-replica running
undo web
