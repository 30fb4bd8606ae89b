"""FrozenMap: an ordered map that can be read as it was at one moment, while it changes."""
cdef extern from "frozen_map.h" namespace "seatrial" nogil:
    cppclass FrozenMap[K, V]:
        cppclass iterator:
            iterator operator++()
            bint operator==(iterator)
            bint operator!=(iterator)
        size_t size()
        size_t kept()                       # pre-images
        iterator begin()
        iterator end()
        iterator locate "from" (const K&)   # the first key that is not less
        const K* key(iterator)
        V* value(iterator)
        V* find(const K&)                   # NULL: not there
        V* change(const K&)                 # about to change; a new one if there was none
        void erase(const K&)
        V* move_to_end(const K&, const K&)
        void freeze()
        void thaw()
        void resume()
        bint next(const K**, const V**)
