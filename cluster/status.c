/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/alloc.h"
#include "cluster/cluster_p.h"

static GV_LOOP_ONLY void show_members(const gv_cluster_t *cluster, gv_cluster_status_t *status)
{
    uint64_t mask = gv_ccore_members(cluster->core);
    status->members = gv_xcalloc(GV_NODES_MAX, sizeof(status->members[0]));
    for (gv_node_index_t i = 0; i < GV_NODES_MAX; i++) {
        if ((mask >> i & 1) == 0) {
            continue;
        }
        gv_cluster_member_t *member = &status->members[status->member_count++];
        member->index = i;
        bool is_member = gv_ccore_member(cluster->core, i, &member->member);
        GV_ASSERT(is_member);
        member->has_link =
            i != GV_NODE_SELF && gv_links_info(cluster->links, &member->member.id, &member->link);
    }
}

static GV_LOOP_ONLY void show_views(const gv_cluster_t *cluster, gv_cluster_status_t *status)
{
    size_t count = status->member_count;
    status->views = gv_xcalloc(count * count, sizeof(status->views[0]));
    for (size_t viewer = 0; viewer < count; viewer++) {
        for (size_t node = 0; node < count; node++) {
            gv_cluster_view_t *view = &status->views[viewer * count + node];
            view->is_known = gv_ccore_view(cluster->core, status->members[viewer].index,
                                           status->members[node].index, &view->view);
        }
    }
}

void gv_cluster_status_new(const gv_cluster_t *cluster, gv_cluster_status_t **status_out)
{
    gv_loop_assert_current(cluster->loop);
    GV_ASSERT(cluster->core != NULL);
    gv_cluster_status_t *status = GV_NEW(gv_cluster_status_t);
    const gv_peer_identity_t *self = &cluster->core_options.self;
    memcpy(status->cluster_name, self->cluster, sizeof(status->cluster_name));
    memcpy(status->advertise, self->address, sizeof(status->advertise));
    memcpy(status->listen, cluster->listen, sizeof(status->listen));
    status->has_secret = cluster->self.secret.size > 0;
    status->is_synced = gv_ccore_is_synced(cluster->core);
    status->is_leaving = cluster->is_leaving;
    status->routable = gv_ccore_routable(cluster->core);
    status->core = *gv_ccore_stats(cluster->core);
    status->directory = *gv_ccore_directory_stats(cluster->core);
    status->links = *gv_links_stats(cluster->links);
    status->identity_conflicts =
        cluster->identity_conflicts + status->links.refused[GV_LINK_CLOSE_DUPLICATE];
    show_members(cluster, status);
    show_views(cluster, status);
    *status_out = status;
}

void gv_cluster_status_free(gv_cluster_status_t **statusp)
{
    gv_cluster_status_t *status = *statusp;
    *statusp = NULL;
    if (status != NULL) {
        gv_free(status->members);
        gv_free(status->views);
        gv_free(status);
    }
}
