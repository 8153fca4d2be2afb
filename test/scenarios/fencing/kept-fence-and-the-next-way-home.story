# A failover is undone and its fence kept, so that production runs without network. Weeks later it fails over again and comes home: production is connected at the switchover, because Understudy knows what it had disconnected. An undo that is not asked to keep the fence connects it, too.
vm web on production

protect web from production to recovery
run web
fail over web fencing by nics
undo web, keeping the fence
expect web on production disconnected
run web
fail over web fencing by power-off
expect web-replica connected
fail back web
switch web over
expect web on production running
expect web on production connected
commit the failback of web
run web

fail over web fencing by nics
undo web, keeping the fence
expect web on production disconnected
run web
fail over web fencing by shutdown
undo web
expect web on production running
expect web on production connected
