# A VM with a replica near and one far: while the near one serves the far one comes up in the dark, and when the near site is lost, too, it takes over and says what nobody can know.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-near fencing by power-off
expect web-near connected
fail over web-far
expect web-far disconnected
undo web-far
near stops answering
fail over web-far
expect web-far connected
expect web-far to be unfenced-source
near answers again
undo web-near
expect web on production off
undo web-far
start web on production
