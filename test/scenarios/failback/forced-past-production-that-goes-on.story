# Production stands elsewhere and its host goes dark: the failback is undone by force, and the failover after it. The VM that was production may still run, so that it stays told until its host answers and it is gone.
hosts production, recovery, spare
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
fail back web to a new VM web-2 on spare
switch web over
spare stops answering
undo the failback of web by force
expect web-replica connected
expect web to be unfenced-source
undo web
expect web on production connected
expect web to be unfenced-source
the sources are looked at
expect web to be unfenced-source
spare answers again
sweep
the sources are looked at
expect web to be not unfenced-source
