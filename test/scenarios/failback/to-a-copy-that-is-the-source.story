# Somebody names the source itself as the copy to go back to: it is the original, and is connected at the switchover although a fence had cut it off.
vm web on production

protect web from production to recovery
run web
fail over web fencing by nics
fail back web to the copy web on production
switch web over
expect web on production running
expect web on production connected
commit the failback of web
run web
