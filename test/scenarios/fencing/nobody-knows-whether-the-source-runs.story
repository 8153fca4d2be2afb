# A replica was tried beside its running source, whose host then falls silent. Production takes over in another place all the same, and the condition says that the source may run beside it, until it is seen.
hosts production, recovery, spare
vm web on production

protect web from production to recovery
run web
fail over web
production stops answering
fail back web to a new VM web-2 on spare
expect web to be not unfenced-source
switch web over
expect web-2 connected
expect web to be unfenced-source
undo the failback of web
expect the log not to say web-2 are still there
expect web-replica disconnected
expect web to be not unfenced-source
fail back web to a new VM web-2 on spare
switch web over
commit the failback of web
expect web-2 to be former-source-unfenced
production answers again
the sources are looked at
expect the log to say web runs and is connected again
expect web-2 to be former-source-unfenced
shut down web on production
the sources are looked at
expect web-2 to be not former-source-unfenced
