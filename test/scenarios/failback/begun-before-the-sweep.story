# Each failback begins right after a planned failover, before the sweep of the change mark that only led up to the last delta: while working layers lie over production's disks nothing can be swept there, and whichever way the failback is left, nothing stays.
vm web on production
vm mail on production

protect web from production to recovery
protect mail from production to recovery
run web
run mail
fail over web as planned
fail back web
fail over mail as planned
fail back mail
sweep
cancel the failback of mail
expect mail in Failover
switch web over
undo the failback of web
expect web in Failover
