# The source site comes back with its VM running while the replica serves: the condition stays until the undo, which asks nobody to be off who is not.
vm web on production

protect web from production to recovery
run web
production stops answering
fail over web
wait 1 h
production answers again
expect web to be unfenced-source
wait 10 min
shut down web on production
undo web
start web on production
run web
expect web to be not unfenced-source
