/* An ordered map that can be read as it was at one moment, piece by piece, while it changes.
 *
 * freeze() fixes the moment. From then on the old value of a key is kept before it changes, once,
 * if the reader has not passed that key: its pre-image. next() merges the map with the pre-images,
 * and forgets each as it passes it. So neither side waits for the other, and the memory it takes
 * grows with what changes, not with what is there (pre-images: as in the "copy on update"
 * checkpoints of Vaz Salles and others, An evaluation of checkpoint recovery for massively
 * multiplayer online games, VLDB 2009; LogCabin and Redis fork instead).
 *
 * A key above `last`, the greatest at that moment, was not there: nothing is kept of it.
 */
#ifndef SEATRIAL_FROZEN_MAP_H
#define SEATRIAL_FROZEN_MAP_H

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace seatrial {

/* Finds keys of a map: by the map's own order, and strings by a hash table beside it, which with
 * 10^6 keys is five times as fast. */
template <class K, class Map>
class Finder {
  public:
    typename Map::iterator find(Map& map, const K& key) { return map.find(key); }
    void added(typename Map::iterator) {}
    void leaves(typename Map::iterator) {}
};

template <class Map>
class Finder<std::string, Map> {
    struct Key {
        std::string_view name;          // a view of the map's key
        std::size_t hash;
        explicit Key(const std::string& key)
            : name(key), hash(std::hash<std::string_view>()(name)) {}
        bool operator==(const Key& other) const { return name == other.name; }
    };
    struct Hash {
        std::size_t operator()(const Key& key) const noexcept { return key.hash; }
    };

    /* One table of 10^6 keys takes 0.2 s to grow, and the whole node waits: many small ones each
     * grow at a time of their own. */
    static constexpr std::size_t TABLES = 1024;
    std::array<std::unordered_map<Key, typename Map::iterator, Hash>, TABLES> tables_;

    auto& table(const Key& key) { return tables_[key.hash >> 54]; }

  public:
    typename Map::iterator find(Map& map, const std::string& name) {
        const Key key(name);
        auto& table = this->table(key);
        auto found = table.find(key);
        return found == table.end() ? map.end() : found->second;
    }
    void added(typename Map::iterator at) {
        const Key key(at->first);
        table(key).emplace(key, at);
    }
    void leaves(typename Map::iterator at) {
        const Key key(at->first);
        table(key).erase(key);
    }
};

template <class K, class V>
class FrozenMap {
    using Map = std::map<K, V>;
    using Before = std::map<K, std::pair<bool, V>>;    // was it there, and what it was

    Map now_;
    Finder<K, Map> finder_;
    Before before_;
    typename Before::node_type held_;   // the pre-image that next() returned
    typename Map::iterator at_;         // where next() goes on, within one slice
    K passed_{}, last_{};
    bool frozen_ = false, begun_ = false;

    void keep(const K& key, const V* value) {
        if (frozen_ && !(last_ < key) && !(begun_ && !(passed_ < key)))
            before_.try_emplace(key, value != nullptr, value ? *value : V());
    }

  public:
    using iterator = typename Map::iterator;

    FrozenMap() = default;
    FrozenMap(const FrozenMap&) = delete;
    FrozenMap& operator=(const FrozenMap&) = delete;

    std::size_t size() const { return now_.size(); }
    std::size_t kept() const { return before_.size(); }
    iterator begin() { return now_.begin(); }
    iterator end() { return now_.end(); }
    iterator from(const K& key) { return now_.lower_bound(key); }
    static const K* key(iterator at) { return &at->first; }
    static V* value(iterator at) { return &at->second; }

    V* find(const K& key) {
        iterator found = finder_.find(now_, key);
        return found == now_.end() ? nullptr : &found->second;
    }

    /* The value of a key, about to change; a new one if there was none. */
    V* change(const K& key) {
        iterator found = finder_.find(now_, key);
        if (found == now_.end()) {
            keep(key, nullptr);
            found = now_.emplace(key, V()).first;
            finder_.added(found);
        } else {
            keep(key, &found->second);
        }
        return &found->second;
    }

    void erase(const K& key) {
        iterator found = finder_.find(now_, key);
        if (found == now_.end())
            return;
        keep(key, &found->second);
        finder_.leaves(found);
        now_.erase(found);
    }

    /* Give an entry another key, greater than all; its place in memory stays. */
    V* move_to_end(const K& from, const K& to) {
        iterator found = now_.find(from);
        keep(from, &found->second);
        auto node = now_.extract(found);
        node.key() = to;
        return &now_.insert(now_.end(), std::move(node))->second;
    }

    void freeze() {
        thaw();
        frozen_ = !now_.empty();
        if (frozen_)
            last_ = now_.rbegin()->first;
    }

    void thaw() {
        frozen_ = begun_ = false;
        before_.clear();
        held_ = typename Before::node_type();
    }

    /* Begin a slice: nothing may change until its last next(). */
    void resume() { at_ = begun_ ? now_.upper_bound(passed_) : now_.begin(); }

    /* The next key and value as they were; false at the end. Valid until anything changes. */
    bool next(const K** key, const V** value) {
        while (frozen_) {
            bool more = at_ != now_.end() && !(last_ < at_->first);
            auto old = before_.begin();
            if (old == before_.end() && !more) {
                thaw();
                break;
            }
            begun_ = true;
            if (old == before_.end() || (more && at_->first < old->first)) {
                passed_ = at_->first;
                *key = &at_->first;
                *value = &at_->second;
                ++at_;
                return true;
            }
            if (more && !(old->first < at_->first))
                ++at_;
            passed_ = old->first;
            held_ = before_.extract(old);
            if (held_.mapped().first) {
                *key = &held_.key();
                *value = &held_.mapped().second;
                return true;
            }
        }
        return false;
    }
};

}  // namespace seatrial

#endif
