# A guard that was put in and that its host has not noticed holds nobody: it says so, and what comes up is told as a source that returned. Reloaded, the host refuses.
vm web on production
protect web from production to recovery
run web
put a guard into production
look at the guard of production
fail over web fencing by power-off
accept the duplicate of web on production
start web on production
the sources are looked at
expect web to be source-returned
shut down web on production
the sources are looked at
production is reloaded
look at the guard of production
try to start web on production
undo web
