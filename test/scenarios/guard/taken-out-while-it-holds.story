# The guard is taken out of a host while it holds a VM: that VM may start, and nobody holds it again.
vm web on production
protect web from production to recovery
run web
start guard at production
fail over web fencing by power-off
look at the guard of production
take the guard out of production
the sources are looked at
look at the guard of production
accept the duplicate of web on production
start web on production
the sources are looked at
shut down web on production
undo web
