/* SPDX-License-Identifier: MIT */
#include "net/others.h"

#include "base/bytes.h"

/* Copies a packet, from its IP header on: the memory that it was received into is its device's. */
static bool copy(const struct dk_ip_rx *from, struct dk_ip_rx *to)
{
    const size_t head = (size_t)(from->data - from->header), bytes = head + from->len;
    *to = *from;
    to->buf = dk_buf_alloc(bytes, DK_BUF_PEER_BYTES);
    if (!to->buf)
        return false;
    memcpy(to->buf->data, from->header, bytes);
    to->header = to->buf->data;
    to->data = to->buf->data + head;
    to->is_plain_pair = false; /* the next has not checked the frame */
    return true;
}

bool dk_others_pass_on(struct dk_net *net, const struct dk_ip_rx *rx)
{
    net->is_taken = false;
    struct dk_net_passed passed = {.origin = net->origin, .whole = net->is_whole};
    if (!copy(rx, &passed.rx)) {
        dk_net_count(&net->stats.others_dropped);
        return true;
    }
    const int r = net->config.others.pass(net->config.emit_arg, &passed);
    if (r == 0) {
        dk_net_count(&net->stats.others_passed);
        return true;
    }
    dk_buf_put(passed.rx.buf);
    if (r == -ENOENT)
        return false;
    dk_net_count(&net->stats.others_dropped);
    return true;
}

static bool has_ports(const struct dk_ip_rx *rx)
{
    return (rx->protocol == DK_IP_TCP || rx->protocol == DK_IP_UDP) && rx->len >= 4;
}

static bool comes_here(struct dk_net *net, const struct dk_ip_rx *rx)
{
    const struct dk_flow flow = {
        .local = rx->dst,
        .remote = rx->src,
        .local_port = dk_get_be16(rx->data + 2),
        .remote_port = dk_get_be16(rx->data),
        .protocol = rx->protocol,
    };
    return net->config.others.comes_here(net->config.emit_arg, &flow);
}

bool dk_others_pass_whole(struct dk_net *net, const struct dk_ip_rx *rx)
{
    if (!net->config.others.pass || !net->config.others.comes_here || !has_ports(rx) ||
        comes_here(net, rx))
        return false;
    net->is_whole = true;
    const bool passed = dk_others_pass_on(net, rx);
    net->is_whole = false;
    return passed;
}

void dk_net_input_passed(struct dk_net *net, const struct dk_net_passed *passed, int64_t now)
{
    const struct dk_ip_rx *rx = &passed->rx;
    const struct dk_transport *transport = dk_transport_find(net, rx->src.version, rx->protocol);
    net->now = now;
    net->origin = passed->origin;
    net->is_taken = true; /* unless it is passed on from inside */
    if (transport && !(passed->whole && dk_others_pass_whole(net, rx)))
        transport->input(net, rx, now);
    if (net->is_taken)
        dk_net_count(&net->stats.others_taken);
    net->origin = net->config.others.worker;
}

void dk_others_tell(struct dk_net *net, const struct dk_net_news *news)
{
    if (net->config.others.tell)
        net->config.others.tell(net->config.emit_arg, news);
}

bool dk_others_leave(struct dk_net *net, uint8_t protocol, const struct dk_ip *local, uint16_t port,
                     const struct dk_endpoint *remote)
{
    const struct dk_net_others *others = &net->config.others;
    if (others->workers <= 1)
        return true;
    if (!remote || !others->comes_here)
        return port % others->workers == others->worker;
    const struct dk_flow flow = {
        .local = *local,
        .remote = remote->ip,
        .local_port = port,
        .remote_port = remote->port,
        .protocol = protocol,
    };
    return others->comes_here(net->config.emit_arg, &flow);
}
