"""An agent, by a command's last words, whose children take themselves to be on another host than their parent's."""

from polyproc._hosts import agent, same_host

same_host.this_host = lambda: "another host"
agent.main()
