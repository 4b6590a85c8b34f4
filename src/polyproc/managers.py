"""Public names of `_managers/`: objects in a server process, and stand-ins for them."""

from polyproc._base.errors import RemoteError as RemoteError
from polyproc._managers.manager import BaseManager as BaseManager
from polyproc._managers.proxies import BaseProxy as BaseProxy
from polyproc._managers.manager import SharedMemoryManager as SharedMemoryManager
from polyproc._managers.manager import SyncManager as SyncManager
from polyproc._managers.links import Token as Token

# Kept for programs that reach inside multiprocessing.
from polyproc._pickling.sending import current as get_spawning_popen
from polyproc._managers.proxies import PoolProxy as BasePoolProxy
from polyproc._base.errors import ProcessError as ProcessError
from polyproc._managers.links import listener_client as listener_client
from polyproc._managers.manager import State as State
from polyproc._managers.proxies import AcquirerProxy as AcquirerProxy
from polyproc._managers.proxies import ArrayProxy as ArrayProxy
from polyproc._managers.proxies import BarrierProxy as BarrierProxy
from polyproc._managers.proxies import BaseListProxy as BaseListProxy
from polyproc._managers.proxies import ConditionProxy as ConditionProxy
from polyproc._managers.proxies import DictProxy as DictProxy
from polyproc._managers.proxies import EventProxy as EventProxy
from polyproc._managers.proxies import IteratorProxy as IteratorProxy
from polyproc._managers.proxies import ListProxy as ListProxy
from polyproc._managers.proxies import NamespaceProxy as NamespaceProxy
from polyproc._managers.proxies import PoolProxy as PoolProxy
from polyproc._managers.proxies import SetProxy as SetProxy
from polyproc._managers.proxies import ValueProxy as ValueProxy
from polyproc._managers.proxies import AutoProxy as AutoProxy
from polyproc._managers.proxies import MakeProxyType as MakeProxyType
from polyproc._managers.proxies import RebuildProxy as RebuildProxy
from polyproc._managers.server import Server as Server
from polyproc._managers.manager import SharedMemoryServer as SharedMemoryServer
from polyproc._managers.links import all_methods as all_methods
from polyproc._managers.links import convert_to_error as convert_to_error
from polyproc._managers.links import dispatch as dispatch
from polyproc._managers.links import public_methods as public_methods
from polyproc._managers.manager import Value as Value
from polyproc._process.process import current_process as current_process
from polyproc._threads import Array as Array
from polyproc._threads import Namespace as Namespace

HAS_SHMEM = True

__all__ = ["BaseManager", "BaseProxy", "SharedMemoryManager", "SyncManager", "Token"]
