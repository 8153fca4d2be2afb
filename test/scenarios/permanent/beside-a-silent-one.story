# The far replica takes over while the near one, which stands in, cannot be asked, and is made permanent. Its source was powered off for it: what may still run is the near one, and that is what is told.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-near fencing by power-off
near stops answering
fail over web-far
expect web-far to be unfenced-source
make web-far permanent
expect web-far to be told web-near, of another replica of the VM, may be so, too
near answers again
undo web-near
