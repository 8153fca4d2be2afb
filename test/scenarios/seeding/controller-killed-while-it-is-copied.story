# The controller dies while the seed is copied into the layers. The next one copies it anew, because what was copied is not known to be whole, and goes on.
vm web on production
bring vda of web to recovery as /recovery/media/web.qcow2
protect web from production to recovery: seed vda:/recovery/media/web.qcow2
fault at recovery.mover.transfer:flushing: crash-before
begin run web
until the fault has struck
a controller starts
until everything has settled
