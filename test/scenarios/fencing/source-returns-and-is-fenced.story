# The lost site comes back with its VM running beside the replica: that is told at once, and a fence afterwards cuts the old VM off until the failover is undone.
vm web on production

protect web from production to recovery
run web
production stops answering
fail over web
expect web to be unfenced-source
wait 1 h
production answers again
the sources are looked at
expect web to be source-returned
fence web by nics
expect web on production disconnected
expect web to be not source-returned
expect web to be not unfenced-source
undo web
expect web on production connected
run web
